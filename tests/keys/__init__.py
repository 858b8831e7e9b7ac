"""Tests of the package `keys`: formats, stores, acts and the really started agent."""
