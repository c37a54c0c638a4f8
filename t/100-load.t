use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Run;
use Test::More;

# Loading, names and the version.

my @before = keys %main::;
use_ok('EV::Websockets');

cmp_ok($EV::Websockets::VERSION, '>', 0.10, 'the version continues after 0.10');
ok(EV::Websockets::Context->can($_), "Context has $_") for qw(new connect listen adopt connections);
ok(EV::Websockets::Connection->can($_), "Connection has $_") for qw(
    send send_binary send_ping send_pong send_fragment send_queue_size close pause_recv
    resume_recv state is_connected is_connecting stash get_protocol peer_address
);

{
    package Importer;
    EV::Websockets->import;
}
is_deeply([ grep { defined &{"Importer::$_"} } keys %Importer:: ], [], 'nothing is exported');

ok(eval { EV::Websockets::_set_debug(0); 1 }, '_set_debug is there');

my @proxies = (
    [ 'http://proxy.example:8080', 'proxy.example', 8080 ],
    [ 'proxy.example:8080',        'proxy.example', 8080 ],
    [ 'proxy.example',             'proxy.example', 1080 ],
    [ 'http://me:secret@proxy.example:3128', 'proxy.example', 3128 ],
    [ 'me@proxy.example',          'proxy.example', 1080 ],
    [ 'socks5://proxy.example',    'proxy.example', 1080 ],
    [ 'http://[::1]:3128',         '::1', 3128 ],
    [ '[fe80::1]',                 'fe80::1', 1080 ],
    [ 'http://u:p@[2001:db8::2]:99', '2001:db8::2', 99 ],
    [ 'http://proxy.example:3128/path?query', 'proxy.example', 3128 ],
    [ 'http://me:a@b@proxy.example:3128', 'proxy.example', 3128 ],
    [ 'proxy.example:',            'proxy.example', 1080 ],
    [ '2001:db8::3',               '2001:db8::3', 1080 ],
    [ " proxy.example:81\n",       'proxy.example', 81 ],
    [ '' ],
    [ undef ],
    [ 'http://' ],
    [ ':3128' ],
    [ 'proxy.example:0' ],
    [ 'proxy.example:65536' ],
    [ 'proxy.example:http' ],
    [ '[::1' ],
    [ 'a,b' ],
    [ 'http://a\\b:81' ],
    [ '[proxy.example]:81' ],
);
for my $proxy (@proxies) {
    my ($text, @expected) = @$proxy;
    is_deeply([ EV::Websockets::Context::_parse_proxy($text) ], \@expected,
        '_parse_proxy(' . (defined $text ? "'$text'" : 'undef') . ')');
}

finish();
