"""Verifying what programs send to prove who they are."""
