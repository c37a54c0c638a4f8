# Credentials of the proxy that reach the origin. Python's requests sent them on in the
# tunnel (CVE-2023-32681).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use ScriptedProxy;
use Test::More;

my $proxy = ScriptedProxy->new([ qr/\ACONNECT .*?\r\n\r\n/s, "HTTP/1.1 200 OK\r\n\r\n" ]);
my $victim = victim(context => { proxy => 'http://user:pAssw0rd@127.0.0.1:' . $proxy->port });
my $heads = '';
attack($victim, 'tunnels', times => 100, warm => 30, cpu => 2, limit => 128, sub {
    my ($times) = @_;
    my $before = $victim->seen->{connect};
    for my $n (1 .. $times) {
        undef $proxy->{server};
        $victim->connect('ws://origin.example/');
        wait_until(sub { $proxy->server && defined $proxy->server->head }) or fail('a request');
        $heads .= $proxy->server->head;
    }
    $victim->meanwhile;
    run_until(sub { $victim->seen->{connect} == $before + $times }, 'connected');
});
is(scalar(() = $proxy->seen =~ /^Proxy-Authorization: Basic dXNlcjpwQXNzdzByZA==\r$/mg), 130, 'the proxy has them');
unlike($heads, qr/authoriz|dXNlcjpwQXNzdzByZA|pAssw0rd/i, 'the origin does not');

finish();
