"""From kept documents to training sequences."""
