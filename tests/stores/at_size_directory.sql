-- A directory with a person a number: nine in ten at one provider, half of them in the vault's queue as a match.
-- `numbers` holds n = 1, 2, …; `id(name, n)` is an id of 16 bytes. The same text for both databases.

insert into client (id, name, role, scopes, secret_hash, state, created) select 'cli_' || n, 'p' || n, 'provider',
  'introspect', 'x', 'active', 0 from numbers where n < 70;

insert into client (id, name, role, scopes, secret_hash, state, created) values ('cli_big', 'big', 'provider',
  'introspect', 'x', 'active', 0);

insert into standing (pid, provider, sector, link, assurance, generation, superseded_by, state, kind, created)
  select id('pid', n), case when n % 10 = 0 then 'cli_' || (n % 70) else 'cli_big' end, 'big.example',
  case when n % 50 > 0 then id('link', n) end, case when n % 100 > 24 then 'provider' else 'none' end, 0,
  case when n % 99 = 0 then id('pid', n - 1) end, 'live', 'natural', n from numbers;

insert into account (pid, id, provider, external_id, kind, state, handle, mac, created, external_hash) select
  id('pid', n), id('acc', n), case when n % 10 = 0 then 'cli_' || (n % 70) else 'cli_big' end, 'x' || n, 'public',
  'approved', 'h' || n, id('mac', n), case when n between 20001 and 25000 then 20001 else n end, n from numbers;

insert into handle (key, account, look) select id('handle', n), id('acc', n), n from numbers;

insert into person_tag (tag, pid) select id('tag', n), id('pid', n) from numbers;

insert into local_tag (tag, pid, kind, kept) select id('local', n), id('pid', n), 'name_birth', case when n % 5000 =
  0 then 1 else 0 end from numbers;

insert into review (reg, provider, pid, account, kind, attempt, state, lease_by, lease_until, expired_document,
  submitted, decided, forgotten) select id('reg', n), case when n % 10 = 0 then 'cli_' || (n % 70) else 'cli_big'
  end, id('pid', n), id('acc', n), 'identity', 1, case when n % 100 < 20 then 'in_review' when n % 100 < 22 then
  'returned' when n % 100 < 25 then 'rejected' else 'approved' end, case when n < 200 then 'cli_other' end, case
  when n < 200 then 1900000000 + 600 end, 0, case when n between 20001 and 25000 then 20001 else n end, case when
  n % 100 > 19 then n end, case when n % 100 between 20 and
  24 and n > 2000 then 1 end from numbers;

insert into review (reg, provider, pid, kind, attempt, state, expired_document, submitted, forgotten) select
  id('match', n), case when n % 10 = 0 then 'cli_' || (n % 70) else 'cli_big' end, id('pid', n), 'match', 1,
  'in_review', 0, n, null from numbers where n % 2 = 0;

insert into sanction (id, provider, pid, account, rung, starts, until, ground, automated, source, origin, lifted)
  select id('san', n), case when n % 10 = 0 then 'cli_' || (n % 70) else 'cli_big' end, id('pid', n), null, 1, n,
  case when n % 3 > 0 then 1900000000 + n end, 'spam', 'no', 'notice', id('pid', n), case when n % 7 = 0 then
  1900000000 + n end from numbers where n % 2 = 0;

insert into idempotency (client, key, request, ids, lease_until, status, answer, created) select case when n % 10 =
  0 then 'cli_' || (n % 70) else 'cli_big' end, id('key', n), 'r', 'i', 0, 202, 'a', 1900000000 + n from numbers;

insert into revoked (jti, until) select id('jti', n), 1900000000 + n from numbers;

insert into "import" (id, provider, state, dry_run, file, created) select id('import', n), 'cli_big', 'legacy', 0,
  id('file', n), 1900000000 - n * 86400 from numbers where n < 100;

insert into import_chunk ("import", number, request, ids, lease_until, first, rows, refused, undone) select
  id('import', n % 2), n, 'r', 'i', 0, n, 1000, case when n % 500 = 0 then '[[1, []]]' else '[]' end, 0 from numbers
  where n < 12000;
