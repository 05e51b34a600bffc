"""The C++ client, through the Python package that carries it, against our servers.

`compat.py list`, or `compat.py NAME_SERVER [SCENARIO...]`; the topics `cpp-SCENARIO` exist already. To see what is refused:
`compat.py try NAME_SERVER TOPIC`. RMQ_ACCESS_KEY and RMQ_SECRET_KEY are the keys that it signs with.
Prints `ok SCENARIO` or `FAILED SCENARIO: why`, one line each.
"""

import os
import sys
import threading
import time

# Long enough for a busy two-core machine; a working server needs a small part of it.
DEADLINE_S = 60


class Failed(Exception):
    """What was expected and what was there."""


def equal(what, expected, found):
    if expected != found:
        raise Failed(f"{what}: expected {expected}, found {found}")


def signed(client):
    """The client, with the keys of the environment."""
    if "RMQ_ACCESS_KEY" in os.environ:
        client.set_session_credentials(os.environ["RMQ_ACCESS_KEY"], os.environ["RMQ_SECRET_KEY"], "ALIYUN")
    return client


class Received:
    """What a consumer was given of this run; waits for an expected number."""

    def __init__(self, cluster):
        self.run = cluster.run
        self.changed = threading.Condition()
        self.messages = []

    def take(self, message):
        # The message is gone when the callback returns: keep what it says.
        body, _, run = message.body.decode().rpartition(" of ")
        if run != self.run:
            return
        with self.changed:
            self.messages.append({
                "body": body,
                "tags": message.tags.decode() if message.tags else "",
                "keys": message.keys.decode() if message.keys else "",
                "colour": (message.get_property("colour") or b"").decode(),
                "topic": message.topic,
            })
            self.changed.notify_all()

    def bodies(self, count):
        with self.changed:
            self.changed.wait_for(lambda: len(self.messages) >= count, DEADLINE_S)
            return sorted(message["body"] for message in self.messages)


class Cluster:
    """The servers under test. Topics are made by whoever starts them: this client has no administration."""

    def __init__(self, name_server):
        self.name_server = name_server
        self.run = format(int(time.time() * 1000), "x")

    def producer(self, name):
        from rocketmq.client import Producer

        producer = signed(Producer(f"cpp-producer-{name}-{self.run}", timeout=10_000))
        producer.set_namesrv_addr(self.name_server)
        producer.start()
        return producer

    def consumer(self, scenario, received, expression="*", orderly=False):
        from rocketmq.client import PushConsumer

        consumer = signed(PushConsumer(f"cpp-group-{scenario}-{self.run}", orderly=orderly))
        consumer.set_namesrv_addr(self.name_server)
        consumer.set_instance_name(f"cpp-{scenario}-{self.run}")
        consumer.subscribe(f"cpp-{scenario}", received.take, expression)
        consumer.start()
        return consumer


def message(cluster, scenario, body, tags="", keys=""):
    from rocketmq.client import Message

    made = Message(f"cpp-{scenario}")
    made.set_body(f"{body} of {cluster.run}")
    if tags:
        made.set_tags(tags)
    if keys:
        made.set_keys(keys)
    return made


def send_and_push(cluster):
    """Sends synchronously; a push consumer is given every message with what it carries."""
    from rocketmq.client import SendStatus

    received = Received(cluster)
    producer = cluster.producer("send_and_push")
    try:
        for i in range(20):
            made = message(cluster, "send_and_push", f"sync {i} \u4f60\u597d", "tag", f"key{i}")
            made.set_property("colour", "blue \u20ac")
            result = producer.send_sync(made)
            equal("status", SendStatus.OK, result.status)
        consumer = cluster.consumer("send_and_push", received)
        try:
            equal("bodies", sorted(f"sync {i} \u4f60\u597d" for i in range(20)), received.bodies(20))
            for found in received.messages:
                number = found["body"].split()[1]
                equal("topic, tags, keys, property", ("cpp-send_and_push", "tag", f"key{number}", "blue \u20ac"),
                      (found["topic"], found["tags"], found["keys"], found["colour"]))
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def send_one_way(cluster):
    received = Received(cluster)
    producer = cluster.producer("send_one_way")
    try:
        for i in range(20):
            producer.send_oneway(message(cluster, "send_one_way", f"one way {i}"))
        consumer = cluster.consumer("send_one_way", received)
        try:
            equal("bodies", sorted(f"one way {i}" for i in range(20)), received.bodies(20))
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def push_tags(cluster):
    received = Received(cluster)
    producer = cluster.producer("push_tags")
    try:
        for tag in ("red", "blue", "", "green"):
            for i in range(10):
                producer.send_sync(message(cluster, "push_tags", f"{tag} {i}", tag))
        consumer = cluster.consumer("push_tags", received, "red || green")
        try:
            equal("bodies", sorted(f"{tag} {i}" for tag in ("red", "green") for i in range(10)), received.bodies(20))
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def push_orderly(cluster):
    received = Received(cluster)
    producer = cluster.producer("push_orderly")
    try:
        for i in range(20):
            producer.send_orderly(message(cluster, "push_orderly", f"step {i:02}"), 1)
        consumer = cluster.consumer("push_orderly", received, orderly=True)
        try:
            received.bodies(20)
            equal("bodies in the order sent", [f"step {i:02}" for i in range(20)], [found["body"] for found in received.messages])
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def send_batch(cluster):
    from rocketmq.client import SendStatus

    received = Received(cluster)
    producer = cluster.producer("send_batch")
    try:
        batch = [message(cluster, "send_batch", f"batch {i}", "tag", f"key{i}") for i in range(10)]
        equal("status", SendStatus.OK, producer.send_batch(batch).status)
        consumer = cluster.consumer("send_batch", received)
        try:
            equal("bodies", sorted(f"batch {i}" for i in range(10)), received.bodies(10))
            equal("keys", sorted(f"key{i}" for i in range(10)), sorted(found["keys"] for found in received.messages))
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def push_delayed(cluster):
    """Delay levels: the second level is 5 s, the first 1 s; the one that is sent first comes last."""
    received = Received(cluster)
    producer = cluster.producer("push_delayed")
    try:
        for body, level in (("later", 2), ("sooner", 1)):
            made = message(cluster, "push_delayed", body)
            made.set_delay_time_level(level)
            producer.send_sync(made)
        consumer = cluster.consumer("push_delayed", received)
        try:
            received.bodies(2)
            equal("bodies in the order of their delays", ["sooner", "later"], [found["body"] for found in received.messages])
        finally:
            consumer.shutdown()
    finally:
        producer.shutdown()


def pull(cluster):
    """A pull consumer goes through all queues, by tag."""
    from rocketmq.client import PullConsumer

    producer = cluster.producer("pull")
    consumer = signed(PullConsumer(f"cpp-group-pull-{cluster.run}"))
    consumer.set_namesrv_addr(cluster.name_server)
    consumer.start()
    try:
        for tag in ("red", "blue"):
            for i in range(20):
                producer.send_sync(message(cluster, "pull", f"{tag} {i}", tag))
        found = sorted(one.body.decode().partition(" of ")[0] for one in consumer.pull("cpp-pull", "red", 4))
        equal("bodies", sorted(f"red {i}" for i in range(20)), found)
    finally:
        consumer.shutdown()
        producer.shutdown()


SCENARIOS = [send_and_push, send_one_way, send_batch, push_tags, push_orderly, push_delayed, pull]


def try_send(name_server, topic):
    """Sends once; what the broker answers is the report."""
    from rocketmq.client import Message

    producer = Cluster(name_server).producer("try")
    try:
        made = Message(topic)
        made.set_body("tried")
        producer.send_sync(made)
        return "ok try_send"
    except Exception as error:  # the line is the report
        return f"FAILED try_send: {type(error).__name__} {error}".replace("\n", " | ")
    finally:
        producer.shutdown()


def run(scenario, cluster):
    try:
        scenario(cluster)
        return True, f"ok {scenario.__name__}"
    except Exception as error:  # the line is the report
        return False, f"FAILED {scenario.__name__}: {type(error).__name__ if not isinstance(error, Failed) else ''} {error}".replace("\n", " | ")


def main(arguments):
    if arguments == ["list"]:
        print("\n".join(sorted(scenario.__name__ for scenario in SCENARIOS)))
        return 0
    if len(arguments) == 3 and arguments[0] == "try":
        print(try_send(arguments[1], arguments[2]), flush=True)
        return 0
    if not arguments:
        print("give `list`, or a name server address and, if not all, the scenarios to run", file=sys.stderr)
        return 2
    known = {scenario.__name__: scenario for scenario in SCENARIOS}
    chosen = arguments[1:] or list(known)
    cluster = Cluster(arguments[0])
    all_good = True
    for name in chosen:
        if name in known:
            good, line = run(known[name], cluster)
        else:
            good, line = False, f"FAILED {name}: no such scenario; `list` names them"
        print(line, flush=True)
        all_good &= good
    return 0 if all_good else 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # The client's own threads may crash while the interpreter takes itself down.
    os._exit(code)
