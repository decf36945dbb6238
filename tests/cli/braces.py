"""A stream whose name cannot be part of a key."""

from runnel import App
from tests.cli.shop import Order

app = App("shop")
orders = app.stream("or{ders}", record=Order, partition_by="order_id")
