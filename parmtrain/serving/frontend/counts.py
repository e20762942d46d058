"""What a frontend counts, and what each count is. Answers are counted by their kind beside these."""

COUNTS = {
    "uncoded": "Queries out of the range of training, which were not encoded.",
    "groups": "Groups that were encoded.",
    "partial": "Groups that were encoded before they were full.",
    "batches": "Batches that were given to instances.",
    "coded": "Coded queries that were dispatched.",
    "copies": "Queries that were sent again.",
    "dropped": "Jobs that were not needed any more when their turn came.",
    "retried": "Jobs that were tried again.",
    "garbage": "Outputs that were malformed.",
    "stale": "Outputs that came late or twice.",
    "lost": "Instances that died.",
    "hung": "Instances that did not respond in time.",
    "failed": "Queries that nothing was left to answer.",
    "unaccepted": "Reconstructions without enough confidence.",
    "undecodable": "Outputs that gave no prediction.",
    "compared": "Reconstructions that were compared with F's own predictions, which came later.",
    "audits": "Reconstructions that were compared although nothing was late.",
}
