//! Metrics, plots and reports.
