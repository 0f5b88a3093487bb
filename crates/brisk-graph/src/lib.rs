//! The computation graph: shapes, operations, gradients, and a slow reference interpreter.
