//! Layers, losses, optimizers, schedules and ready-made models.
