# CR, LF, NUL, and what else might end a line, in every option that reaches the wire. A
# classic of clients that take a value from a user: the user writes the request.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawServer;
use Run;
use Test::More;

my @strange = ("\r\n", "\n", "\r", "\0", "\x0b", "\x0c", "\x85", "\x{2028}", "\r\n\r\n", "\n ", "\r\n\t");
my @where = (
    sub { (headers => { 'X-Value' => "a$_[0]X-Injected: 1" }) }, sub { (headers => { "X-Name$_[0]X-Injected" => 1 }) },
    sub { (headers => { Host => "a$_[0]X-Injected: 1" }) },      sub { (headers => { Cookie => "$_[0]X-Injected: 1" }) },
    sub { (protocol => "chat$_[0]X-Injected: 1") },              sub { (protocol => [ 'chat', "$_[0]X-Injected: 1" ]) },
    sub { (url => "ws://127.0.0.1:$_[1]/a$_[0]X-Injected: 1") }, sub { (url => "ws://127.0.0.1:$_[1]/?$_[0]X-Injected: 1") },
    sub { (url => "ws://u$_[0]X-Injected: 1\@127.0.0.1:$_[1]/") }, sub { (url => "ws://127.0.0.1$_[0]X-Injected: 1:$_[1]/") },
);
my ($heads, $requests) = ('', 0);
my $server = RawServer->new(answer => sub { $heads .= $_[1]; $requests++; $_[0]->accept->send_close(1000) });
my $port = $server->port;
my $victim = victim(do => sub {
    my ($loop, $times, $done) = @_;
    my $context = EV::Websockets::Context->new(loop => $loop);
    my $open = 0;
    my $over = sub { return if --$open; undef $context; $done->() };
    $open++;
    for my $where ((@where) x $times) {
        for my $strange (@strange) {
            my $once;
            my $end = sub { $over->() if !$once++ };
            eval { $context->connect(url => "ws://127.0.0.1:$port/", $where->($strange, $port), on_close => $end, on_error => sub { $end->() if $_[0]->state eq 'closed' }); $open++; 1 };
        }
    }
    $over->();
});
attack($victim, 'options', times => 4, limit => 256, cpu => 3, sub {
    my ($times) = @_;
    $victim->do($times);
    $victim->meanwhile;
    run_until(sub { $victim->seen->{done} }, 'all are decided');
    $server->{peers} = [];
});
note("$requests requests came");
unlike($heads, qr/^[ \t]*X-Injected/mi, 'no line of a request was the value\'s');
unlike($heads, qr/[^\r]\n|\r[^\n]|[\0\x0b\x0c]/, 'and nothing that another program could take for the end of a line');

finish();
