//! Two network namespaces and the pair of devices between them.

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use net::udp::txtime::{TimedQueue, timed_queue};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces made so far, for names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Says why a test shows nothing here; in the lab that is its failure.
pub fn missing(what: &str) {
    let is_lab = std::env::var_os("PUNKTFUNK_LAB").is_some();
    assert!(!is_lab, "{what}, in the lab");
    // Past the test runner, which would keep it to itself.
    let line = format!("\ndeparture_times: skipped, {what}\n");
    let _nobody_reads = io::stderr().write_all(line.as_bytes());
}

/// Removed when it is dropped.
pub struct Lab {
    sender: String,
    receiver: String,
}

impl Lab {
    /// With this queue at the sender's device; `None`, after saying why, where that cannot be.
    pub fn with_queue(arguments: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            missing("network namespaces need root");
            return None;
        }
        let name = format!(
            "pf{}-{}",
            std::process::id(),
            MADE.fetch_add(1, Ordering::Relaxed)
        );
        let lab = Self {
            sender: format!("{name}-s"),
            receiver: format!("{name}-r"),
        };
        if let Err(error) = lab.build() {
            missing(&format!("two namespaces cannot be made: {error}"));
            return None;
        }
        if !lab.set_queue(arguments) {
            missing(&format!("this kernel has no queue {}", arguments[0]));
            return None;
        }
        Some(lab)
    }

    fn build(&self) -> io::Result<()> {
        let (s, r) = (&self.sender, &self.receiver);
        run(&format!("ip netns add {s}"))?;
        run(&format!("ip netns add {r}"))?;
        run(&format!(
            "ip -n {s} link add wire type veth peer name wire netns {r}"
        ))?;
        // Fixed addresses of the link: etf drops ARP, as everything without a time.
        for (namespace, own, other) in [(s, 1, 2), (r, 2, 1)] {
            run(&format!(
                "ip -n {namespace} link set wire address 02:00:00:00:00:0{own}"
            ))?;
            run(&format!(
                "ip -n {namespace} address add 10.77.0.{own}/24 dev wire"
            ))?;
            run(&format!("ip -n {namespace} link set wire up"))?;
            run(&format!(
                "ip -n {namespace} neighbour add 10.77.0.{other} lladdr 02:00:00:00:00:0{other} \
                 dev wire nud permanent"
            ))?;
        }
        Ok(())
    }

    /// Gives the sender's device another queue; false if the kernel has none of this kind.
    pub fn set_queue(&self, arguments: &[&str]) -> bool {
        let arguments = arguments.join(" ");
        let command = format!(
            "tc -n {} qdisc replace dev wire root {arguments}",
            self.sender
        );
        run(&command)
            .inspect_err(|error| println!("{error}"))
            .is_ok()
    }

    /// Makes a device of two queues with these disciplines.
    pub fn set_queues_of_several(&self, kinds: &[&str; 2]) {
        let s = &self.sender;
        let lab = |command: String| run(&command).expect("iproute2");
        if run(&format!("ip -n {s} link show several")).is_err() {
            lab(format!(
                "ip -n {s} link add several numtxqueues 2 type dummy"
            ));
            lab(format!("ip -n {s} address add 10.78.0.1/24 dev several"));
            lab(format!("ip -n {s} link set several up"));
            lab(format!(
                "tc -n {s} qdisc replace dev several root handle 1: mq"
            ));
        }
        for (i, kind) in kinds.iter().enumerate() {
            let parent = format!("1:{}", i + 1);
            lab(format!(
                "tc -n {s} qdisc replace dev several parent {parent} {kind}"
            ));
        }
    }

    /// The probe's answer for the device of two queues.
    pub fn queue_of_several(&self) -> Result<TimedQueue, String> {
        let to = SocketAddr::from(([10, 78, 0, 2], 9));
        self.in_sender(move || Ok(timed_queue(to)))
            .map_err(|refusal| refusal.to_string())
    }

    /// Runs `body` on a thread in the sender's namespace.
    pub fn in_sender<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> T {
        inside(&self.sender, body)
    }

    /// Runs `body` on a thread in the receiver's namespace.
    pub fn in_receiver<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> T {
        inside(&self.receiver, body)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.sender, &self.receiver] {
            // Where it could not be made there is none.
            let _none = run(&format!("ip netns delete {namespace}"));
        }
    }
}

fn inside<T: Send + 'static>(
    namespace: &str,
    body: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> T {
    let path = format!("/run/netns/{namespace}");
    let thread = std::thread::spawn(move || {
        let namespace = File::open(path)?;
        // A thread's own; what it opens stays in there.
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        body()
    });
    let result = thread.join().expect("it does not panic");
    result.expect("sockets work in a namespace")
}

fn run(command: &str) -> io::Result<()> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().expect("a program"))
        .args(words)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command}: {}", said.trim())))
}
