//! One environment's native side: its lane, its tables, and the way into its JavaScript.

use std::{
    cell::{Cell as StdCell, RefCell},
    collections::HashMap,
    ffi::c_void,
    ptr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arrowlane_memory::Block;
use arrowlane_plane::{
    Batch, BatchSchema, Event, Lane, Outgoing, OutgoingDictionary, Publisher, Pulse, Subscription,
    server::DatasetBuilder, sharing::Sharer,
};
use napi::sys;

use crate::{
    cell::Cell,
    events::{self, RECORD, TAKEN},
    held::{Exported, Held, Terms},
    scratch::Scratch,
    table::Table,
    wake::Wake,
};

/// What an `ArrayBuffer` was made over, by its number.
#[derive(Clone, Copy)]
pub enum Entry {
    Batch(u32),
    Block(u32),
    /// Something that is let go of in another way.
    None,
}

/// A batch that JavaScript has a handle of, and the cells of the `ArrayBuffer`s that were made over it.
pub struct BatchEntry {
    pub batch: Arc<Batch>,
    pub cells: Vec<Cell>,
    pub held: Held,
}

/// Everything that JavaScript's numbers stand for.
#[derive(Default)]
pub struct Tables {
    pub batches: Table<BatchEntry>,
    pub schemas: Vec<Arc<BatchSchema>>,
    pub schema_of: HashMap<u32, (Arc<BatchSchema>, u32)>,
    pub blocks: Table<(Arc<Block>, Option<Cell>)>,
    pub dictionaries: Table<OutgoingDictionary>,
    /// Cells of the `ArrayBuffer`s over received dictionaries, by key.
    pub dictionary_cells: Table<Vec<Cell>>,
    pub outgoing: Table<Outgoing>,
    pub publishers: HashMap<u32, Arc<Publisher>>,
    /// Datasets that are put together; each has its publisher's number.
    pub datasets: HashMap<u32, DatasetBuilder>,
    pub subscriptions: HashMap<u32, Arc<Subscription>>,
    pub pulses: HashMap<u32, Arc<Pulse>>,
    /// What was agreed on keeping batches, by subscription.
    pub terms: HashMap<u32, Terms>,
    pub exports: Vec<Exported>,
    pub errors: HashMap<u32, (String, String)>,
    pub sharer: Sharer,
}

/// Lives from the first use until the environment ends; used on its thread only.
pub struct Host {
    env: sys::napi_env,
    pub lane: Arc<Lane>,
    pub tables: RefCell<Tables>,
    pub scratch: Scratch,
    mailbox: Scratch,
    callback: sys::napi_ref,
    context: sys::napi_async_context,
    wake: RefCell<Option<Wake>>,
    hook: StdCell<sys::napi_async_cleanup_hook_handle>,
    holds: StdCell<u32>,
    events: RefCell<Vec<(u32, Event)>>,
}

impl Host {
    /// The host of the current environment. `callback` is called with the number of records in `mailbox`.
    ///
    /// # Errors
    /// What the system, libuv or Node-API refused.
    pub fn start(
        env: sys::napi_env,
        callback: sys::napi_value,
        mailbox: sys::napi_value,
        scratch: sys::napi_value,
        threadsafe: bool,
    ) -> Result<Rc<Self>, String> {
        let lane = Lane::new().map_err(|e| e.to_string())?;
        let (mut reference, mut context, mut name) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: plain Node-API calls with values of the current scope.
        let statuses = unsafe {
            let text = b"arrowlane";
            [
                sys::napi_create_reference(env, callback, 1, &mut reference),
                sys::napi_create_string_utf8(env, text.as_ptr().cast(), text.len() as _, &mut name),
                sys::napi_async_init(env, ptr::null_mut(), name, &mut context),
            ]
        };
        if statuses.iter().any(|s| *s != sys::Status::napi_ok) {
            return Err("the environment refused a reference".into());
        }
        let host = Rc::new(Self {
            env,
            tables: RefCell::default(),
            scratch: Scratch::of(env, scratch)?,
            mailbox: Scratch::of(env, mailbox)?,
            callback: reference,
            context,
            wake: RefCell::default(),
            hook: StdCell::new(ptr::null_mut()),
            holds: StdCell::new(0),
            events: RefCell::default(),
            lane,
        });
        let wake = Wake::start(&host, threadsafe)?;
        *host.wake.borrow_mut() = Some(wake);
        let mut hook = ptr::null_mut();
        let data = Rc::into_raw(Rc::clone(&host)).cast_mut().cast::<c_void>();
        // SAFETY: the hook's argument is a counted reference, taken back in `on_teardown`, which runs exactly once.
        unsafe { sys::napi_add_async_cleanup_hook(env, Some(on_teardown), data, &mut hook) };
        host.hook.set(hook);
        Ok(host)
    }

    pub fn env(&self) -> sys::napi_env {
        self.env
    }

    /// Whether the loop itself watches; otherwise JavaScript has to ask for [`idle`](Self::idle).
    pub fn is_on_loop(&self) -> bool {
        self.wake.borrow().as_ref().is_some_and(Wake::is_loop)
    }

    /// Handles what is ready and tells JavaScript.
    pub fn turn(&self) {
        let mut events = std::mem::take(&mut *self.events.borrow_mut());
        // A failing epoll set has no remedy here; what it watched reports its own end.
        if let Err(error) = self.lane.turn(Some(Duration::ZERO), &mut events) {
            tracing::error!(%error, "the event loop's descriptors cannot be polled");
        }
        self.deliver(&mut events);
        if let Some(wake) = &*self.wake.borrow() {
            wake.handled();
        }
        events.clear();
        *self.events.borrow_mut() = events;
    }

    /// Sends what was gathered. Events that arose outside a turn are delivered here, before the loop sleeps, and what that
    /// gathers is sent as well.
    pub fn idle(&self) {
        self.lane.idle();
        if self.lane.has_events() {
            self.turn();
            self.lane.idle();
        }
        if self.lane.has_events() {
            // Others want the loop too.
            self.lane.rouse();
        }
    }

    fn deliver(&self, events: &mut Vec<(u32, Event)>) {
        if events.is_empty() {
            return;
        }
        // The number behind the records says how many bodies came that may still be there.
        let fresh = self.mailbox.len() - 1;
        let room = fresh / RECORD;
        let mut rest = events.drain(..).peekable();
        while rest.peek().is_some() {
            let mut count = 0;
            for (id, event) in rest.by_ref().take(room) {
                let record = events::record(&mut self.tables.borrow_mut(), id, event);
                self.mailbox.write(count * RECORD, &record);
                count += 1;
            }
            self.call(count);
            self.note_taken(count);
            if self.mailbox.read(fresh) > 0.0 {
                self.call(0);
            }
        }
    }

    /// The publishers of batches that the application took at once may send that much more. What it holds still, it holds
    /// from now on.
    fn note_taken(&self, count: usize) {
        let mut now = None;
        for record in 0..count {
            if self.mailbox.read(record * RECORD) == TAKEN {
                let id = self.mailbox.read(record * RECORD + 1) as u32;
                let batch = self.mailbox.read(record * RECORD + 2) as u32;
                let mut tables = self.tables.borrow_mut();
                tables.hold(batch, id, &mut now);
                let subscription = tables.subscriptions.get(&id).cloned();
                drop(tables);
                if let Some(subscription) = subscription {
                    subscription.taken();
                }
            }
        }
    }

    /// An `ArrayBuffer` over a batch was collected or detached: where nobody let go of the batch, this does.
    pub fn collected(&self, entry: Entry, cell: &Cell) {
        let mut tables = self.tables.borrow_mut();
        // The number may stand for another batch by now.
        match entry {
            Entry::Batch(handle) => {
                let removed = tables.batches.remove_if(handle, |e| e.cells.iter().any(|c| c.is(cell)));
                drop(tables);
                drop(removed);
            }
            Entry::Block(handle) => {
                let removed = tables.blocks.remove_if(handle, |(_, c)| c.as_ref().is_some_and(|c| c.is(cell)));
                drop(tables);
                drop(removed);
            }
            Entry::None => {}
        }
    }

    /// Calls JavaScript from the loop: with async hooks and microtasks as from any callback of Node's.
    fn call(&self, count: usize) {
        // SAFETY: this runs on the environment's thread, outside of JavaScript. The scope is closed before returning;
        // `callback` and `context` live until teardown, after which nothing calls this.
        unsafe {
            let mut scope = ptr::null_mut();
            if sys::napi_open_handle_scope(self.env, &mut scope) != sys::Status::napi_ok {
                return;
            }
            let (mut function, mut receiver, mut argument) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            sys::napi_get_reference_value(self.env, self.callback, &mut function);
            sys::napi_get_global(self.env, &mut receiver);
            sys::napi_create_double(self.env, count as f64, &mut argument);
            let status =
                sys::napi_make_callback(self.env, self.context, receiver, function, 1, &argument, ptr::null_mut());
            if status == sys::Status::napi_pending_exception {
                let mut exception = ptr::null_mut();
                sys::napi_get_and_clear_last_exception(self.env, &mut exception);
                sys::napi_fatal_exception(self.env, exception);
            }
            sys::napi_close_handle_scope(self.env, scope);
        }
    }

    /// Something is awaited: the environment must not end before it came.
    pub fn hold(&self) {
        self.holds.set(self.holds.get() + 1);
        if self.holds.get() == 1
            && let Some(wake) = &*self.wake.borrow()
        {
            wake.hold(self.env, true);
        }
    }

    /// It came, or nobody waits for it any more.
    pub fn let_go(&self) {
        let left = self.holds.get().saturating_sub(1);
        self.holds.set(left);
        if left == 0
            && let Some(wake) = &*self.wake.borrow()
        {
            wake.hold(self.env, false);
        }
    }

    /// The last of the wake-up's handles is gone: Node may go on with its teardown.
    pub fn closed(&self) {
        let hook = self.hook.replace(ptr::null_mut());
        if !hook.is_null() {
            // SAFETY: the handle is the one that registering gave, used once.
            unsafe { sys::napi_remove_async_cleanup_hook(hook) };
        }
    }

    fn shut_down(&self) {
        // First what JavaScript held, then the lane: leases end while their connections still stand.
        let tables = std::mem::take(&mut *self.tables.borrow_mut());
        let Tables { mut batches, mut dictionary_cells, mut blocks, sharer, .. } = tables;
        drop(sharer);
        for entry in batches.clear() {
            entry.cells.iter().for_each(Cell::release);
        }
        dictionary_cells.clear().iter().flatten().for_each(Cell::release);
        for (_, cell) in blocks.clear() {
            cell.iter().for_each(Cell::release);
        }
        self.lane.shut_down();
        let wake = self.wake.borrow_mut().take();
        match wake {
            Some(wake) => wake.stop(self),
            None => self.closed(),
        }
        // The process may end with this.
        #[cfg(windows)]
        arrowlane_transport::finish(Duration::from_secs(5));
        // SAFETY: the environment still exists during its cleanup hooks; both were made by `start` and are not used
        // after this.
        unsafe {
            sys::napi_delete_reference(self.env, self.callback);
            sys::napi_async_destroy(self.env, self.context);
        }
    }
}

unsafe extern "C" fn on_teardown(_handle: sys::napi_async_cleanup_hook_handle, data: *mut c_void) {
    // SAFETY: `data` is the count that `start` made; Node calls this once, on the environment's thread.
    let host = unsafe { Rc::from_raw(data.cast::<Host>().cast_const()) };
    host.shut_down();
}
