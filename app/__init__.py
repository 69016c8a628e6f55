"""The Panel app: four linked views of one store."""
