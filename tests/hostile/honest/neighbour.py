"""All right, with a written answer that is nobody else's business."""

from tests.hostile import bank

CELLS = {"explain": "At 3 bits half of the maximum is best. " + bank.CANARY["neighbour"]}
