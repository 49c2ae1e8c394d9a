"""A scheduler for a Twisted program, with nothing on disk and no files: python examples/scheduler.py"""

from twisted.internet.task import deferLater, react

from jobd import JobError, JobService


def told(run):
    """Called with each run that begins, its outcome None, and each that is over."""
    if run.outcome is not None:
        print(f"{run.job} {run.number}: {run.outcome}")


async def greet(call):
    """A job: it may return a value, a Deferred or, as this one, a coroutine."""
    call.write(f"hello from run {call.run}, for {call.scheduled}\n")


async def use(reactor, jobs):
    await jobs.add("greeting", "@every 1s", "@call greet")
    await deferLater(reactor, 2.5)
    print(jobs.output("greeting", 1), end="")

    # A command, run by hand: nobody starts it otherwise.
    await jobs.add("uptime", "@hourly", "cat /proc/uptime", {"timeout": "5s"}, started=False)
    number = await jobs.run("uptime")
    run = await jobs.wait("uptime", number)
    print(f"exit {run.exit}, after {run.ended - run.started}")

    try:
        await jobs.add("never", "61 * * * *", "true")
    except JobError as error:
        print(error)


async def main(reactor):
    service = JobService(reactor, None, callables={"greet": greet})
    service.startService()
    service.jobs.subscribe(told)
    try:
        await use(reactor, service.jobs)
    finally:
        await service.stopService()


if __name__ == "__main__":
    react(main)
