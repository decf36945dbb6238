"""Incidents that a night watch meets, on real servers: each a program that begins one and judges
whether it is over. ``scripts/incident`` starts them for a drill, the tests here end each with the
commands that `runnel inspect` names."""
