# The same in what a server's program answers: headers of the upgrade, of responses, and
# the subprotocol. Response splitting, a classic of every framework that is old enough.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Hostile;
use RawPeer;
use Run;
use Test::More;

my @strange = ("\r\n", "\n", "\r", "\0", "\x0b", "\x85", "\r\n\r\n", "\n ");
my $which = sub { my ($headers) = @_; $strange[ $headers->{'X-Which'} || 0 ] };
my %answer = (
    value    => sub { { 'X-Value' => "a$_[0]X-Injected: 1" } },
    name     => sub { { "X$_[0]X-Injected" => 1 } },
    cookie   => sub { { 'Set-Cookie' => "a$_[0]X-Injected: 1" } },
    location => sub { { Location => "/$_[0]X-Injected: 1" } },
);
my $victim = victim(listen => {
    on_handshake => sub { my ($headers) = @_; $headers->{'X-How'} ? $answer{ $headers->{'X-How'} }->($which->($headers)) : 1 },
    on_request => sub { my ($request) = @_; my $h = $request->{headers}; my $of = $answer{ $h->{'X-How'} || 'value' }->($which->($h)); [ 200, [%$of], ['body'] ] },
});
my @requests = map {
    my $how = $_;
    map {
        my %h = ('X-How' => $how, 'X-Which' => $_);
        (RawPeer->request(headers => \%h), RawPeer->request(headers => { %h, Upgrade => undef, Connection => undef }));
    } 0 .. $#strange;
} sort keys %answer;
attack($victim, 'answers', times => 4, limit => 256, warns => 1, cpu => 3, sub {
    my ($times) = @_;
    for my $request ((@requests) x $times) {
        my $peer = $victim->peer->put($request);
        wait_until(sub { defined $peer->head || $peer->eof });
        my $head = defined $peer->head ? $peer->head : '';
        fail("injected: $head") if $head =~ /^[ \t]*X-Injected/mi || $head =~ /[^\r]\n|\r[^\n]|[\0\x0b]/;
        $peer->hang_up;
    }
    $victim->meanwhile;
});

finish();
