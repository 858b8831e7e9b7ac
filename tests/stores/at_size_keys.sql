-- A key store with a record, an intent that waits and a hand-off a number.
-- `numbers` holds n = 1, 2, …; `id(name, n)` is an id of 16 bytes. The same text for both databases.

insert into record_key (rid, kek_version, wrapped, state, assurance, revisions, uid, created,
  mac) select id('rid', n), 1, 'k', case when n % 50 = 0 then 'creating' else 'verified' end, 'vault', 'r', id('uid', n), 1000000000 + n, id('mac', n) from numbers;

insert into intent (id, kind, sealed, not_before, created) select id('int', n), 'erase', 's', 1900000000 + n, n from
  numbers;

insert into handoff (hash, sealed, expires) select id('hnd', n), 's', 1900000000 + n from numbers;
