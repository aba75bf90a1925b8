"""What tests put between the bot and the world, and in the place of its clock."""
