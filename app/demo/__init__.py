"""Implements `asgard demo`, which is only a REST client of the gateway. It imports no other part of
`app`, and gets everything over HTTP."""
