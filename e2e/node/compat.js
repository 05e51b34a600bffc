// The Node client ali-ons against our servers: `compat.js list`, or `compat.js NAME_SERVER [SCENARIO...]`.
// It prints `ok SCENARIO` or `FAILED SCENARIO: why`, one line each. The topics `node-SCENARIO` are there, with two queues.
'use strict';

const { Producer, Consumer, Message } = require('ali-ons');

// Long enough for a busy machine of two cores; a working server needs a small part of it.
const DEADLINE_MS = 60000;

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));
const quiet = { info() {}, debug() {}, warn() {}, error() {} };

function options(servers, more) {
  // It asks for an HTTP client, and needs none for addresses that it is given.
  return Object.assign({ nameSrv: servers, httpclient: {}, logger: quiet, sendMsgTimeout: 10000, rebalanceInterval: 1000 }, more);
}

function equal(what, expected, found) {
  const [want, got] = [expected, found].map(value => JSON.stringify(value));
  if (want !== got) throw new Error(`${what}: expected ${want}, found ${got}`);
}

// Sends messages; gives their ids.
async function send(servers, scenario, messages) {
  const producer = new Producer(options(servers, { producerGroup: `node-producer-${scenario}` }));
  const failed = [];
  producer.on('error', error => failed.push(error));
  await producer.ready();
  const ids = [];
  for (const message of messages) {
    const result = await producer.send(message);
    equal('status', 'SEND_OK', result.sendStatus);
    ids.push(result.msgId);
  }
  await producer.close();
  if (failed.length) throw failed[0];
  return ids;
}

// Consumes until these bodies came, each as often as it is there, in any order. `decide` may give a message back.
async function consume(servers, scenario, expression, expected, decide) {
  const consumer = new Consumer(options(servers, {
    consumerGroup: `node-consumer-${scenario}`,
    consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
  }));
  const came = [];
  const failed = [];
  consumer.on('error', error => failed.push(error));
  consumer.subscribe(`node-${scenario}`, expression, async message => {
    const body = message.body.toString();
    came.push(body);
    return decide ? decide(body, message) : undefined;
  });
  const wanted = [...expected].sort();
  const until = Date.now() + DEADLINE_MS;
  while (came.length < wanted.length && Date.now() < until) await sleep(20);
  // What is too much comes soon as well.
  await sleep(200);
  await consumer.close();
  if (came.length < wanted.length && failed.length) throw failed[0];
  equal('messages', wanted, [...came].sort());
}

const message = (scenario, tag, body) => new Message(`node-${scenario}`, tag, body);

const scenarios = {
  async push_delayed(servers) {
    const delayed = message('push_delayed', 'tag', 'later');
    delayed.delayTimeLevel = 1;
    const began = Date.now();
    await send(servers, 'push_delayed', [delayed]);
    await consume(servers, 'push_delayed', '*', ['later'], () => {
      if (Date.now() - began < 900) throw new Error('it came at once');
    });
  },
  async push_retry(servers) {
    await send(servers, 'push_retry', [message('push_retry', 'tag', 'again')]);
    const seen = new Set();
    await consume(servers, 'push_retry', '*', ['again', 'again'], body => {
      if (seen.has(body)) return undefined;
      seen.add(body);
      return Consumer.ACTION_RETRY;
    });
  },
  async push_sql(servers) {
    const messages = ['5', '50', '500'].map(amount => {
      const sent = message('push_sql', 'tag', amount);
      sent.properties.amount = amount;
      return sent;
    });
    await send(servers, 'push_sql', messages);
    const expression = { expressionType: 'SQL92', subString: 'amount > 10 AND amount < 100' };
    await consume(servers, 'push_sql', expression, ['50']);
  },
  async push_tags(servers) {
    const messages = [['a', '1'], ['b', '2'], ['c', '3']].map(([tag, body]) => message('push_tags', tag, body));
    await send(servers, 'push_tags', messages);
    await consume(servers, 'push_tags', 'a || c', ['1', '3']);
  },
  async send_and_push(servers) {
    const bodies = Array.from({ length: 20 }, (_, number) => `number ${number} \u4f60\u597d`);
    const messages = bodies.map((body, number) => {
      const sent = message('send_and_push', 'tag', body);
      sent.keys = [`key${number}`];
      return sent;
    });
    const ids = await send(servers, 'send_and_push', messages);
    equal('distinct ids', bodies.length, new Set(ids).size);
    await consume(servers, 'send_and_push', '*', bodies);
  },
  async send_compressed(servers) {
    const body = 'a line that comes again and again\n'.repeat(2000);
    await send(servers, 'send_compressed', [message('send_compressed', 'tag', body)]);
    await consume(servers, 'send_compressed', '*', [body]);
  },
};

async function main([servers, ...chosen]) {
  if (!servers || servers === 'list') {
    Object.keys(scenarios).forEach(name => console.log(name));
    return;
  }
  for (const name of chosen.length ? chosen : Object.keys(scenarios)) {
    try {
      await scenarios[name](servers);
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`FAILED ${name}: ${String((error && error.message) || error).replace(/\n/g, ' | ').slice(0, 2000)}`);
    }
  }
}

main(process.argv.slice(2)).then(() => process.exit(0));
