"""The parts that screens are made of; they render state and report what the user does."""
