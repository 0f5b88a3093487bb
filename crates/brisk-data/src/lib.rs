//! Data sources, checks, transforms, splits and batching.
