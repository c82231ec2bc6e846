"""Adversarial examples in pixel space [0, 1], common corruptions, and scores of membership.

An adversarial attack is a pure function of one network and a batch of images,

  attack(logits_fn, pixels f32[b h w c], labels i32[b], rng, *, epsilon, ...) -> AttackResult

with `logits_fn(pixels f32[b h w c]) -> logits f32[b k]`, preprocessing inside, so that epsilon is
in pixels whatever the network sees. An image that is misclassified as it is counts as fooled with
zero perturbation, so no attack is weaker than none. An attack looks at no image that it has fooled
already: that is where its cost ends.
"""
