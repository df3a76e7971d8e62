"""The `atlas` suite: cities, airports, clocks, holidays, money and languages of the world.

Real data of well-kept packages, answered by pure functions: any machine records the suite
without a network, and the same releases give the same answers.
"""
