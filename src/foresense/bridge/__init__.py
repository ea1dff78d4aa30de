"""MQTT to a store, losing nothing that was acknowledged; and the simulated plant that speaks MQTT."""

#: Where samples are published, unless another topic is asked for.
TOPIC = "sensor/data"
