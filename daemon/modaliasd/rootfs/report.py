"""stub"""
def report(attempt, waited, device, *, init, why, outcome):
    print("LOST", waited, device, init, why, attempt.refusal)
    return 111
