//! Warnings that somebody else can cause as often as he likes: counted always, told seldom, so that rubbish cannot fill a disk.

/// Counts one more occurrence; whether it is one to tell of: the 1st, 2nd, 4th, 8th, ...
pub fn count(so_far: &mut u64) -> bool {
    *so_far += 1;
    so_far.is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_ever_fewer() {
        let mut so_far = 0;
        let told: Vec<u64> = (1..=20).filter(|_| count(&mut so_far)).collect();
        assert_eq!(told, [1, 2, 4, 8, 16]);
        assert_eq!(so_far, 20);
    }
}
