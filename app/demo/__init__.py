"""`asgard demo`: a REST client of the gateway, and nothing more. It imports no other part of
`app`; what it needs to know it learns over HTTP."""
