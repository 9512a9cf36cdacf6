"""GitHub, by PyGithub: releases and their assets."""
