"""Parity harness: every number that interlace reports, held against lme4's."""
