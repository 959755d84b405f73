//! In which order questions are asked, so that nobody is woken before all have been asked that need him asleep. Pure.
//!
//! A session that only one side can start, and that this side does not keep alive, is asleep until a packet wakes it. Some
//! predictions are about it asleep, and the packets of others wake it. What wakes it is asked afterwards; where two questions
//! each wake what the other needs asleep, they are asked in two labs, because nothing but a new lab puts a session to sleep.

use std::collections::BTreeSet;

use super::compare::Question;
use crate::model::Verdict;
use crate::reach::Session;

/// What is asked in one lab: stages, one after the other, of questions by their index, all at once.
pub type Act = Vec<Vec<usize>>;

/// Distributes all questions over as few labs as it takes: one, and two for each doubling of the number of sessions that
/// sleep. The questions that need nobody asleep are the last stage of the last act.
pub fn schedule(questions: &[Question]) -> Vec<Act> {
    let sleepers: Vec<&Session> =
        questions.iter().filter_map(|q| q.idle.as_ref()).collect::<BTreeSet<_>>().into_iter().collect();
    let mut rest: BTreeSet<usize> = (0..questions.len()).filter(|i| questions[*i].idle.is_some()).collect();
    // Who is said to hear although he keeps nothing alive is called before he can have said anything himself.
    let (quiet, awake) =
        (0..questions.len()).filter(|i| questions[*i].idle.is_none()).partition::<Vec<usize>, _>(|i| {
            questions[*i].calls_quiet && questions[*i].predicted == Verdict::Reaches
        });
    // Those that wake nobody; what is asleep then still is in the next stage.
    let mut acts: Vec<Act> = vec![vec![take(questions, &mut rest, &sleepers)]];
    let mut is_first = true;
    for keep in halves(&sleepers) {
        let stage = take(questions, &mut rest, &keep);
        match acts.last_mut() {
            Some(act) if is_first && !stage.is_empty() => {
                act.push(stage);
                is_first = false;
            }
            _ if stage.is_empty() => {}
            _ => acts.push(vec![stage]),
        }
    }
    if let Some(act) = acts.last_mut() {
        act.extend([quiet, awake].into_iter().filter(|stage| !stage.is_empty()));
    }
    acts
}

/// Every two sessions are told apart by one bit of their numbers: each is once kept asleep while the other is woken.
fn halves<'s>(sleepers: &[&'s Session]) -> Vec<Vec<&'s Session>> {
    let bits = usize::BITS - sleepers.len().saturating_sub(1).leading_zeros();
    let of = |bit: u32, is: usize| {
        let numbered = sleepers.iter().enumerate().filter(move |(i, _)| (i >> bit) & 1 == is);
        numbered.map(|(_, s)| *s).collect::<Vec<&Session>>()
    };
    let halves = (0..bits).flat_map(|bit| [of(bit, 0), of(bit, 1)]);
    // What wakes one of either half is asked with a single one asleep.
    halves.chain(sleepers.iter().map(|s| vec![*s])).collect()
}

/// Takes the questions that need one of these asleep and wake none of them.
fn take(questions: &[Question], rest: &mut BTreeSet<usize>, keep: &[&Session]) -> Vec<usize> {
    let fits = |q: &Question| {
        q.idle.as_ref().is_some_and(|s| keep.contains(&s)) && !q.wakes.iter().any(|s| keep.contains(&s))
    };
    let taken: Vec<usize> = rest.iter().copied().filter(|i| fits(&questions[*i])).collect();
    rest.retain(|i| !taken.contains(i));
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PortSpec;

    fn session(spoke: usize) -> Session {
        ["hub".parse().unwrap(), format!("s{spoke}").parse().unwrap()]
    }

    fn question(wakes: &[usize], idle: Option<usize>) -> Question {
        Question {
            from: String::new(),
            to: String::new(),
            space: 0,
            target_space: 0,
            target: [10, 0, 0, 1].into(),
            port: PortSpec::Icmp,
            listens: ([10, 0, 0, 1].into(), PortSpec::Icmp),
            predicted: Verdict::Blocked,
            reason: None,
            wakes: wakes.iter().map(|n| session(*n)).collect(),
            idle: idle.map(session),
            calls_quiet: false,
        }
    }

    /// Plays the acts, and sees that nobody is awake who has to be asleep.
    fn play(questions: &[Question]) -> usize {
        let acts = schedule(questions);
        let mut asked: Vec<usize> = Vec::new();
        for act in &acts {
            let mut awake: BTreeSet<&Session> = BTreeSet::new();
            for stage in act {
                awake.extend(stage.iter().flat_map(|i| &questions[*i].wakes));
                for i in stage {
                    assert!(questions[*i].idle.as_ref().is_none_or(|s| !awake.contains(s)), "{acts:?}");
                }
                asked.extend(stage);
            }
        }
        asked.sort_unstable();
        assert_eq!(asked, (0..questions.len()).collect::<Vec<_>>());
        acts.len()
    }

    #[test]
    fn without_sleepers_everything_is_asked_at_once() {
        assert_eq!(play(&[]), 1);
        assert_eq!(play(&[question(&[0], None), question(&[1, 2], None)]), 1);
    }

    #[test]
    fn the_quiet_are_called_before_anybody_else_speaks() {
        let hears = Question { calls_quiet: true, predicted: Verdict::Reaches, ..question(&[0], None) };
        let deaf = Question { calls_quiet: true, ..question(&[], None) };
        let all = [question(&[0], None), deaf, hears, question(&[1], Some(0))];
        assert_eq!(play(&all), 1);
        assert_eq!(schedule(&all)[0], [vec![3], vec![2], vec![0, 1]]);
    }

    #[test]
    fn one_sleeper_is_left_alone_first() {
        let all = [question(&[0], None), question(&[1], Some(0)), question(&[], Some(0))];
        assert_eq!(play(&all), 1);
        assert_eq!(schedule(&all)[0], [vec![1, 2], vec![0]]);
    }

    #[test]
    fn who_needs_each_other_asleep_gets_another_lab() {
        for (sleepers, labs) in [(2, 2), (3, 4), (4, 4), (9, 8)] {
            let mut all = vec![question(&[0, 1], None)];
            for a in 0..sleepers {
                let others = (0..sleepers).filter(|b| *b != a);
                all.extend(others.map(|b| question(&[a], Some(b))));
            }
            assert_eq!(play(&all), labs, "{sleepers}");
        }
    }

    #[test]
    fn a_question_that_wakes_several_needs_one_alone() {
        assert_eq!(
            play(&[question(&[0, 1], Some(2)), question(&[1, 2], Some(0)), question(&[0, 2], Some(1))]),
            3
        );
    }
}
