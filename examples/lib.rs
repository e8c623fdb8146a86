//! Programs that use procession; each is one `[[example]]`.
