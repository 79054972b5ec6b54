//! Owns the proof that one unit is planned and applied, and that nothing of another is touched.
