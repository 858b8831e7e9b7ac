"""The acts that the agent offers, a module a flow."""
