//! Owns which descriptors a started program gets: the three standard ones.

/// Marks every descriptor above 2 as not to be passed on. Whatever this process opens itself is marked anyway; this is
/// about what its own parent left open. To be called first thing, before there are threads.
pub fn keep_from_children() {
    close_fds::set_fds_cloexec(3, &[]);
}
