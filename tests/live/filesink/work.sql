create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i+1 from n where i<3000) insert into t select i, printf('%x-%d', i*7919, i%97), i*1.5/7 from n;
create index tb on t(b);
select count(*), sum(c), min(b), max(b) from t where b like '%1%';
select a%13, count(*), avg(c), group_concat(substr(b,1,2)) from t where a<500 group by 1 order by 2 desc, 1;
update t set c=c*2 where a%3=0; delete from t where a%7=1;
select x.a, y.b from t x join t y on x.a=y.a*2 where y.a between 100 and 130;
select json_extract('{"a":[1,2,{"b":3}]}', '$.a[2].b'), strftime('%Y', 0), abs(-3), round(3.14159,2);
.mode json
select * from t limit 5;
.schema
explain query plan select * from t where b='x';
pragma integrity_check;
select no_such();
