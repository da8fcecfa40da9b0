"""A templates file on the agreement of verb and noun, in words that the bundled model knows."""

AGREEMENT = """
pairs = 40
[words.noun]
one = "pilot guard teacher"
many = "pilots guards teachers"
[words]
kind = "old young"
[draw]
n = "noun"
o = ["noun.one", "noun.many"]
kind = "kind"
[[sides]]
clean = { subject = "{n.one}", answer = " waits" }
corrupt = { subject = "{n.many}", answer = " wait" }
[[templates]]
text = "The {kind} {subject} that the {o} like"
roles = "det adj noun that det2 noun2 verb2"
[[templates]]
text = "The {subject} near the {kind} {o}"
roles = "det noun that det2 adj noun2"
unseen = true
"""
