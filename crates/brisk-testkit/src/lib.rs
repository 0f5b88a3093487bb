//! Gradient checks, goldens and generators for Brisk's own tests.
