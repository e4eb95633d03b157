//! Measures the lookup table: how even the shares are, how many slots move without need, how long it takes to build.
//! Prints the Markdown tables of `docs/`; run it with `cargo run --release -p lb-userspace --example maglev_figures`.

use std::net::Ipv4Addr;
use std::time::Instant;

use lb_common::address::Address;
use lb_common::limits::DEFAULT_SLOTS;
use lb_userspace::maglev::table;

type Pool = Vec<(Address, u16)>;

fn pool(count: u32, weight: impl Fn(u32) -> u16) -> Pool {
    (0..count).map(|number| (Ipv4Addr::from_bits(0x0a00_0001 + number).into(), weight(number))).collect()
}

fn owners(pool: &Pool) -> Vec<Address> {
    table(pool, DEFAULT_SLOTS).iter().map(|&slot| pool[usize::from(slot)].0).collect()
}

/// Share of slots that differ, and the share that had to: half the sum of how much each backend's share changed.
fn moved(before: &Pool, after: &Pool) -> (f64, f64) {
    let (old, new) = (owners(before), owners(after));
    let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    let held = |owners: &[Address], address| owners.iter().filter(|owner| **owner == address).count();
    let mut all: Vec<_> = before.iter().chain(after).map(|backend| backend.0).collect();
    all.sort_unstable();
    all.dedup();
    let needed: usize = all.iter().map(|address| held(&old, *address).saturating_sub(held(&new, *address))).sum();
    let slots = f64::from(DEFAULT_SLOTS);
    (moved as f64 / slots, needed as f64 / slots)
}

fn print_moves(what: &str, weights: &str, moves: impl Iterator<Item = (f64, f64)>) {
    let moves: Vec<_> = moves.collect();
    let mean = |value: fn(&(f64, f64)) -> f64| 100.0 * moves.iter().map(value).sum::<f64>() / moves.len() as f64;
    let worst = moves.iter().map(|(moved, needed)| moved - needed).fold(0.0, f64::max) * 100.0;
    let (moved, needed) = (mean(|m| m.0), mean(|m| m.1));
    println!("| {what} | {weights} | {moved:.2} % | {needed:.2} % | {:.2} % | {worst:.2} % |", moved - needed);
}

fn main() {
    let mixed = |number: u32| [1, 2, 5, 10][number as usize % 4];
    println!("{DEFAULT_SLOTS} slots; mixed weights are 1, 2, 5, 10 in turn.\n");
    println!("| backends | weights | least share / fair | greatest share / fair | built in |");
    println!("|---|---|---|---|---|");
    for count in [3, 10, 100, 1000] {
        for (name, pool) in [("equal", pool(count, |_| 1)), ("mixed", pool(count, mixed))] {
            let start = Instant::now();
            let table = table(&pool, DEFAULT_SLOTS);
            let built = start.elapsed();
            let mut shares = vec![0_u32; pool.len()];
            table.iter().for_each(|&slot| shares[usize::from(slot)] += 1);
            let total: u32 = pool.iter().map(|backend| u32::from(backend.1)).sum();
            let ratios: Vec<_> = (shares.iter().zip(&pool))
                .map(|(share, (_, weight))| {
                    f64::from(*share) * f64::from(total) / f64::from(*weight) / f64::from(DEFAULT_SLOTS)
                })
                .collect();
            let least = ratios.iter().copied().fold(f64::MAX, f64::min);
            let most = ratios.iter().copied().fold(0.0, f64::max);
            println!("| {count} | {name} | {least:.4} | {most:.4} | {:.2} ms |", built.as_secs_f64() * 1000.0);
        }
    }
    println!("\n| change | weights | slots that move | that must | beyond that, mean | at worst |");
    println!("|---|---|---|---|---|---|");
    for count in [3, 10, 100, 1000] {
        let tries = count.min(50);
        for (name, weight) in [("equal", (|_| 1) as fn(u32) -> u16), ("mixed", mixed)] {
            let whole = pool(count, weight);
            let without = |gone: u32| {
                let mut rest = whole.clone();
                rest.remove((gone * (count / tries)) as usize);
                rest
            };
            print_moves(&format!("one of {count} goes"), name, (0..tries).map(|gone| moved(&whole, &without(gone))));
            let added = |number: u32| {
                let mut more = whole.clone();
                more.push((Ipv4Addr::from_bits(0x0a01_0001 + number).into(), weight(number)));
                more
            };
            print_moves(&format!("one joins {count}"), name, (0..tries).map(|number| moved(&whole, &added(number))));
            let doubled = |number: u32| {
                let mut heavier = whole.clone();
                heavier[(number * (count / tries)) as usize].1 *= 2;
                heavier
            };
            let moves = (0..tries).map(|number| moved(&whole, &doubled(number)));
            print_moves(&format!("one of {count} doubles its weight"), name, moves);
        }
    }
}
