//! A vector that is cheap to share: a clone costs a few pointers, and a change copies one chunk instead of all.
//!
//! The snapshot holds participants and the live feed in it, so that publishing a bet among 10,000 players costs
//! microseconds and readers keep the old snapshot untouched.

use std::sync::Arc;

const CHUNK_LEN: usize = 64;

#[derive(Clone, Debug)]
pub struct PersistentVec<T> {
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    /// Items of the first chunk that were dropped from the front.
    skipped: usize,
    len: usize,
}

impl<T> Default for PersistentVec<T> {
    fn default() -> Self {
        PersistentVec {
            chunks: Arc::default(),
            skipped: 0,
            len: 0,
        }
    }
}

impl<T: Clone + PartialEq> PartialEq for PersistentVec<T> {
    fn eq(&self, other: &PersistentVec<T>) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<T: Clone> PersistentVec<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        let place = index + self.skipped;
        self.chunks.get(place / CHUNK_LEN)?.get(place % CHUNK_LEN)
    }

    pub fn push(&mut self, item: T) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK_LEN) {
            Some(chunk) => Arc::make_mut(chunk).push(item),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK_LEN);
                chunk.push(item);
                chunks.push(Arc::new(chunk));
            }
        }
        self.len += 1;
    }

    /// Changes the item at `index`; false when there is none.
    pub fn update(&mut self, index: usize, change: impl FnOnce(&mut T)) -> bool {
        if index >= self.len {
            return false;
        }
        let place = index + self.skipped;
        let chunk = &mut Arc::make_mut(&mut self.chunks)[place / CHUNK_LEN];
        change(&mut Arc::make_mut(chunk)[place % CHUNK_LEN]);
        true
    }

    /// Drops the oldest item.
    pub fn pop_front(&mut self) {
        if self.len == 0 {
            return;
        }
        self.len -= 1;
        self.skipped += 1;
        if self.skipped == CHUNK_LEN || self.len == 0 {
            Arc::make_mut(&mut self.chunks).remove(0);
            self.skipped = 0;
        }
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let skipped = self.skipped;
        self.chunks
            .iter()
            .enumerate()
            .flat_map(move |(index, chunk)| {
                chunk[if index == 0 {
                    skipped.min(chunk.len())
                } else {
                    0
                }..]
                    .iter()
            })
    }
}

impl<T: Clone> FromIterator<T> for PersistentVec<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut vec = PersistentVec::default();
        for item in items {
            vec.push(item);
        }
        vec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        PopFront,
        Update(usize, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => any::<u32>().prop_map(Step::Push),
            1 => Just(Step::PopFront),
            1 => (0..200usize, any::<u32>()).prop_map(|(index, item)| Step::Update(index, item)),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_deque_and_leaves_older_clones_alone(steps in proptest::collection::vec(step(), 0..500)) {
            let mut model = VecDeque::new();
            let mut vec = PersistentVec::default();
            for step in steps {
                let (old_model, old_vec) = (model.clone(), vec.clone());
                match step {
                    Step::Push(item) => { model.push_back(item); vec.push(item); }
                    Step::PopFront => { model.pop_front(); vec.pop_front(); }
                    Step::Update(index, item) => {
                        let changed = vec.update(index, |place| *place = item);
                        prop_assert_eq!(changed, index < model.len());
                        if changed { model[index] = item; }
                    }
                }
                prop_assert_eq!(vec.len(), model.len());
                prop_assert!(vec.iter().eq(model.iter()));
                prop_assert!(vec.iter().rev().eq(model.iter().rev()));
                prop_assert!(old_vec.iter().eq(old_model.iter()));
            }
            for index in 0..model.len() + 2 {
                prop_assert_eq!(vec.get(index), model.get(index));
            }
        }
    }
}
