//! [`drlb_fuzz::parse`] under libFuzzer.
#![no_main]

use lb_ebpf::host::HostTables;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static TABLES: HostTables = drlb_fuzz::tables();
}

fuzz_target!(|data: &[u8]| TABLES.with(|tables| {
    // What one input leaves must not decide about the next: a crash has to come again.
    *tables.memory.borrow_mut() = Default::default();
    drlb_fuzz::parse(data, tables);
}));
