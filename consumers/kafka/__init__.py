"""Kafka: clients, membership, transactions, topics, and the broker over them."""
