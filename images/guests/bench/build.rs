//! Builds the program that the guest carries, and links the guest.

fn main() {
    program_build::guest_with(&["rings"]);
}
