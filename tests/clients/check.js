// node-postgres against a running server: node check.js HOST:PORT CUSTOMERS, with ALLUVIAL_TEST_SECRET, where `pg`, `pg-cursor` and
// `pg-query-stream` can be found (NODE_PATH).
'use strict';
const assert = require('assert');
const pg = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');

const [host, port] = process.argv[2].split(':');
const customers = process.argv[3].split(',');
const config = { host, port: Number(port), user: 'bi', password: process.env.ALLUVIAL_TEST_SECRET, database: 'alluvial' };

async function refused(client, text, values) {
  try {
    await client.query(text, values);
  } catch (error) {
    return error.code;
  }
  return '00000';
}

async function main() {
  const client = new pg.Client({ ...config, application_name: 'check', statement_timeout: 60000 });
  await client.connect();

  // By the simple protocol, and by the extended one.
  const all = await client.query('SELECT customer_id FROM customer_profile_latest ORDER BY 1');
  assert.deepStrictEqual(all.rows.map((row) => row.customer_id), customers);
  const sizes = await client.query(
    'SELECT segment, members FROM segment_sizes_latest WHERE segment = $1 AND members > $2', ['buyers', 1]);
  assert.deepStrictEqual(sizes.rows, [{ segment: 'buyers', members: '3' }]);
  assert.strictEqual(sizes.rowCount, 1);
  const named = { name: 'one', text: 'SELECT count(*) AS n FROM segment_members_latest WHERE segment = ANY($1)' };
  for (const [ids, n] of [[['buyers'], '3'], [['buyers', 'danes'], '5']]) {
    assert.strictEqual((await client.query({ ...named, values: [ids] })).rows[0].n, n);
  }
  // The types as this driver reads them.
  const types = await client.query(
    "SELECT amount_spent, created_at, as_of, tags, email_reachable, p_alive, CAST(NULL AS TEXT) AS nothing " +
    'FROM customer_profile_latest WHERE number_of_orders > 0 ORDER BY customer_id LIMIT 1');
  const row = types.rows[0];
  assert.strictEqual(typeof row.amount_spent, 'string');
  assert.ok(row.created_at instanceof Date && row.as_of instanceof Date, JSON.stringify(row));
  assert.ok(Array.isArray(row.tags));
  assert.strictEqual(typeof row.email_reachable, 'boolean');
  assert.strictEqual(row.nothing, null);
  const given = new Date(Date.UTC(2026, 0, 2, 3, 4, 5, 678));
  const back = await client.query('SELECT $1::timestamptz AS at, $2::numeric AS money, $3::int8 AS n, $4::bool AS yes',
    [given, '12.50', 7, true]);
  const { money, ...rest } = back.rows[0];
  assert.deepStrictEqual(rest, { at: given, n: '7', yes: true });
  assert.strictEqual(Number(money), 12.5);

  // Faults have their codes, and a connection goes on after one.
  assert.strictEqual(await refused(client, 'SELECT * FROM missing'), '42P01');
  assert.strictEqual(await refused(client, 'DELETE FROM orders WHERE order_id = $1', ['x']), '25006');
  assert.strictEqual(await refused(client, 'SELEC 1'), '42601');
  await client.query('BEGIN');
  await client.query("SET LOCAL statement_timeout = '30s'");
  assert.strictEqual((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '30s');
  assert.strictEqual(await refused(client, 'SELECT 1 / 0'), '22012');
  assert.strictEqual(await refused(client, 'SELECT 1'), '25P02');
  await client.query('ROLLBACK');
  assert.strictEqual((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '1min');
  const several = await client.query('SELECT 1 AS a; SELECT 2 AS b');
  assert.deepStrictEqual(several.map((result) => result.rows), [[{ a: '1' }], [{ b: '2' }]]);

  // Row by row: a cursor of the extended protocol, and the stream over it, left before its end.
  const cursor = client.query(new Cursor('SELECT value FROM generate_series(1, 1000) WHERE value >= $1 ORDER BY 1', [1]));
  assert.deepStrictEqual((await cursor.read(3)).map((row) => row.value), ['1', '2', '3']);
  assert.strictEqual((await cursor.read(500)).length, 500);
  await cursor.close();
  let seen = 0;
  const stream = client.query(new QueryStream('SELECT value FROM generate_series(1, 1000000)', [], { batchSize: 100 }));
  for await (const row of stream) {
    assert.ok(row.value);
    if (++seen === 250) break;
  }
  assert.strictEqual((await client.query('SELECT 1 AS one')).rows[0].one, '1');

  // What is prepared by name in SQL.
  await client.query('PREPARE by_segment (text) AS SELECT members FROM segment_sizes_latest WHERE segment = $1');
  assert.deepStrictEqual((await client.query("EXECUTE by_segment('danes')")).rows, [{ members: '2' }]);
  await client.query('DEALLOCATE by_segment');
  assert.strictEqual(await refused(client, "EXECUTE by_segment('danes')"), '26000');

  // A cancel by another connection, as its time-outs do it.
  const slow = client.query('SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b')
    .then(() => '00000', (error) => error.code);
  await new Promise((done) => setTimeout(done, 300));
  const { Connection } = pg;
  const cancel = new Connection();
  cancel.connect(config.port, config.host);
  await new Promise((done) => cancel.once('connect', done));
  cancel.cancel(client.processID, client.secretKey);
  assert.strictEqual(await slow, '57014');
  await client.end();

  // Many at once by a pool.
  const pool = new pg.Pool({ ...config, max: 8 });
  const answers = await Promise.all([...Array(40).keys()].map((n) => pool.query('SELECT $1::int4 + 1 AS n', [n])));
  // The engine adds in 64 bits, which this driver gives as text.
  assert.deepStrictEqual(answers.map((answer) => Number(answer.rows[0].n)), [...Array(40).keys()].map((n) => n + 1));
  await pool.end();
  const wrong = new pg.Client({ ...config, password: 'wrong' });
  assert.strictEqual(await wrong.connect().then(() => '00000', (error) => error.code), '28P01');
  console.log('node-postgres agrees');
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
