"""MQTT to a store, losing nothing that was acknowledged; and the simulated plant that speaks MQTT."""
