//! Numbers that stand for values.

/// A table of values; its keys are small integers that JavaScript holds. A key is used again after `remove`.
pub struct Table<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(key) = self.free.pop() {
            self.slots[key as usize] = Some(value);
            return key;
        }
        self.slots.push(Some(value));
        (self.slots.len() - 1) as u32
    }

    pub fn get(&self, key: u32) -> Option<&T> {
        self.slots.get(key as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.slots.get_mut(key as usize)?.as_mut()
    }

    pub fn remove(&mut self, key: u32) -> Option<T> {
        let value = self.slots.get_mut(key as usize)?.take()?;
        self.free.push(key);
        Some(value)
    }

    /// Removes the value under a key if it is the one that is meant.
    pub fn remove_if(&mut self, key: u32, meant: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.get(key).is_some_and(meant) { self.remove(key) } else { None }
    }

    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.slots.iter().enumerate().filter_map(|(key, slot)| Some((key as u32, slot.as_ref()?)))
    }

    /// As [`iter`](Self::iter), to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(key, slot)| Some((key as u32, slot.as_mut()?)))
    }

    /// Takes everything out.
    pub fn clear(&mut self) -> Vec<T> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().flatten().collect()
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_for_its_value_until_it_is_removed_once() {
        let mut table = Table::default();
        let (a, b) = (table.insert("a"), table.insert("b"));
        assert_eq!(table.remove(a), Some("a"));
        assert_eq!(table.remove(a), None);
        assert_eq!((table.get(a), table.get(b), table.len()), (None, Some(&"b"), 1));
        assert_eq!(table.insert("c"), a);
    }
}
