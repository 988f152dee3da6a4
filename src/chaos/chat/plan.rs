//! Who is there: users and groups of two clusters. It stays as it is for a whole run, so that it is known who may get what.

use crate::wire::proto::ErrorCode;

/// What the clusters are called.
pub const TAGS: [&str; 2] = ["east", "west"];
/// A name that nobody has.
pub const NOBODY: &str = "nobody";
/// No server takes messages of more bytes.
pub const MESSAGE_BYTES_MAX: usize = 65_536;

/// Users and groups, called by their places.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everybody.
    pub users: Vec<Person>,
    /// All groups.
    pub groups: Vec<Room>,
}

/// A user.
#[derive(Clone, Debug)]
pub struct Person {
    /// The same in all clusters.
    pub name: String,
    /// Where they are a user; who is one of both moves between them.
    pub clusters: Vec<usize>,
    /// Whether they read now and then; others acknowledge at once what comes.
    pub is_lazy: bool,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Room {
    /// What it is called.
    pub name: String,
    /// Which cluster it belongs to.
    pub cluster: usize,
    /// Who belongs to it; the first one makes it.
    pub members: Vec<usize>,
}

/// To whom a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A user.
    User(usize),
    /// A group.
    Group(usize),
    /// Somebody who is not there.
    Nobody,
}

impl Plan {
    /// So many users: in each four, one of both clusters. Two groups in each cluster, neither of which has all users.
    pub fn new(users: usize) -> Self {
        let person = |number: usize| {
            let home = if number % 4 == 3 { number / 4 % 2 } else { number % 2 };
            let clusters = if number % 4 == 3 { vec![home, 1 - home] } else { vec![home] };
            Person { name: format!("user-{}", number + 1), clusters, is_lazy: number % 5 == 2 }
        };
        let users: Vec<Person> = (0..users).map(person).collect();
        let mut groups = Vec::new();
        for (cluster, tag) in TAGS.iter().enumerate() {
            let belong = users.iter().enumerate().filter(|(_, user)| user.clusters.contains(&cluster));
            let belong: Vec<usize> = belong.map(|(number, _)| number).collect();
            let all = belong.iter().copied().enumerate();
            let some = all.clone().filter(|(place, _)| place % 2 == 0).map(|(_, user)| user).collect();
            let most = all.filter(|(place, _)| place % 3 != 0).map(|(_, user)| user).collect();
            groups.push(Room { name: format!("some-{tag}"), cluster, members: some });
            groups.push(Room { name: format!("most-{tag}"), cluster, members: most });
        }
        groups.retain(|group| !group.members.is_empty());
        Self { users, groups }
    }

    /// The name of whom a message is written to.
    pub fn name(&self, to: To) -> &str {
        match to {
            To::User(user) => &self.users[user].name,
            To::Group(group) => &self.groups[group].name,
            To::Nobody => NOBODY,
        }
    }

    /// For whom a message is, one bit a user; whoever has written it does not count.
    pub fn receivers(&self, by: usize, to: To) -> u64 {
        let all = match to {
            To::User(user) => bit(user),
            To::Group(group) => self.groups[group].members.iter().fold(0, |all, &user| all | bit(user)),
            To::Nobody => 0,
        };
        all & !bit(by)
    }

    /// Why a message is not accepted, if it is not to be.
    pub fn refusal(&self, by: usize, cluster: usize, to: To, bytes: usize) -> Option<ErrorCode> {
        if bytes > MESSAGE_BYTES_MAX {
            return Some(ErrorCode::TooLong);
        }
        match to {
            To::Nobody => Some(ErrorCode::NotFound),
            To::User(user) => (!self.users[user].clusters.contains(&cluster)).then_some(ErrorCode::NotFound),
            To::Group(group) => {
                let Room { cluster: of, members, .. } = &self.groups[group];
                match (*of == cluster, members.contains(&by)) {
                    (false, _) => Some(ErrorCode::NotFound),
                    (true, false) => Some(ErrorCode::Forbidden),
                    (true, true) => None,
                }
            }
        }
    }
}

/// The bit of a user.
pub const fn bit(user: usize) -> u64 {
    1 << user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cluster_has_users_of_its_own_users_of_both_and_groups_that_leave_somebody_out() {
        for users in [4, 16, 64] {
            let plan = Plan::new(users);
            for cluster in 0..TAGS.len() {
                assert!(plan.users.iter().any(|user| user.clusters == [cluster]), "{users}");
                assert!(
                    plan.users
                        .iter()
                        .any(|user| user.clusters.contains(&cluster) && user.clusters.len() == 2)
                );
                let belong = plan.users.iter().filter(|user| user.clusters.contains(&cluster)).count();
                for group in plan.groups.iter().filter(|group| group.cluster == cluster) {
                    assert!(group.members.len() < belong, "{users}: {group:?}");
                    assert!(group.members.iter().all(|&user| plan.users[user].clusters.contains(&cluster)));
                }
            }
        }
    }
}
