//! Files that were made to do harm, or were damaged.
